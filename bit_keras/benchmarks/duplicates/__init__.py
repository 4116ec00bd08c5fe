"""Test images that are among the images a model was pre-trained on."""
