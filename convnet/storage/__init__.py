"""Files that appear whole or not at all, folders that one process has for itself, and the cache."""

from convnet.storage.claim import Claim
from convnet.storage.files import cache_folder, check_folder, link_atomically, write_atomically
from convnet.storage.growing import GrowingFile

__all__ = ["Claim", "GrowingFile", "cache_folder", "check_folder", "link_atomically", "write_atomically"]
