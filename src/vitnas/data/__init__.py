"""Named data sets with explicit splits, transforms, the training loader, the decoded cache."""
