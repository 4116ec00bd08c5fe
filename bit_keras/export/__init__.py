"""What leaves the house: exported backbones (not part of 0.1)."""
