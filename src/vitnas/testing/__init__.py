"""Conformance suites, for the models, policies and searchers of plug-ins as well."""
