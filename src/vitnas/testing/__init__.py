"""Conformance suites for plug-ins: `models` for families and policies, `searchers` for strategies.

They need no test framework: a failed check is an AssertionError that says what is wrong.
"""
