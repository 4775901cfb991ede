"""``convnet.load``, ``convnet.build`` and the ``Network`` that they give."""
