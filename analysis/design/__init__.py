"""What runs could tell before they are made."""
