"""The logic of Tidegate: pure decisions, thin reconcilers, narrow ports, and the adapters behind them."""
