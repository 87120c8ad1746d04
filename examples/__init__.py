"""Real data for trying Tidegate out; nothing here is part of the product."""
