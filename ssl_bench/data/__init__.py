"""From a data set's own files to augmented batches: readers, checks, the cache, splits, views."""
