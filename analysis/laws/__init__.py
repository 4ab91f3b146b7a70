"""Laws: how one is declared, and the catalogue."""
