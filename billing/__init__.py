"""What a plan allows, and who has which plan."""
