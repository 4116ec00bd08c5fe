"""Pictures and pages from plain descriptions of them."""
