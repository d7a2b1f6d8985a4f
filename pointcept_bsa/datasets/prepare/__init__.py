"""What the preparations of the data sets share: the prepared folder, its samples, downloads, raw formats."""
