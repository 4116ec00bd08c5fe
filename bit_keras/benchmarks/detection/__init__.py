"""COCO-style detection with the backbones of this package."""
