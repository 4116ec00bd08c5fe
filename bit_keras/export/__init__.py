"""What leaves the house: backbones as SavedModels, and the way back in."""
