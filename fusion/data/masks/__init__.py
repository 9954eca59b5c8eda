"""Images with masks: the class of every pixel. Data sets of several layouts, augmentation and batches."""
