"""ObjectNet: everyday objects where one does not expect them."""
