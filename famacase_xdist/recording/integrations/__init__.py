"""What foreign plugins and libraries ask for: one file for each of them."""
