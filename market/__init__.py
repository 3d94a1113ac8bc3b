"""The market: tickers, candles, and how fresh they are."""
