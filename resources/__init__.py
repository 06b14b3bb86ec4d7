"""How the outside is reached: SQL databases, the lake, Databricks, the completion log and the ledger of remote jobs.

Knows nothing of assets. Nothing here connects to anything when it is imported or constructed.
"""
