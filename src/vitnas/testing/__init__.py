"""Conformance suites for plug-ins: `models` for families and policies, `searchers` for strategies.

They need no test framework: a failed check is an AssertionError that says what is wrong. Beside
them `servers` starts the databases that a ledger may be on.
"""
