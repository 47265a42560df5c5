"""Sources, slices, datalists and splits. Nothing here but ``readers`` imports torch or MONAI."""
