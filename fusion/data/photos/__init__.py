"""Photos that are decoded when they are needed: augmentation, batches, RecordIO files and how those are made."""
