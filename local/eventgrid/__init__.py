"""An emulator of Event Grid: topics, subscriptions, filters, delivery with retry and dead-lettering."""
