"""What downstream error becomes as upstream error goes to zero."""
