"""Search: strategies that ask and tell, under limits, on a ledger that survives a kill."""
