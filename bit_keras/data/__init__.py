"""Images and labels: sources, subsets, preprocessing."""
