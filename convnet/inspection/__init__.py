"""What is in a file or a folder, whichever program wrote it; batches that are checked whole, counted and shown."""

from convnet.inspection.contact_sheet import show_batches
from convnet.inspection.found import Found, Tell
from convnet.inspection.kinds import inspect
from convnet.inspection.verification import verify_batches

__all__ = ["Found", "Tell", "inspect", "show_batches", "verify_batches"]
