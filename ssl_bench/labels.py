"""The label of pixels that have none."""

IGNORED = 255  # label of a pixel whose class is not known
