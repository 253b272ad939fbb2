"""Torpor, a serverless vector index that you run yourself; `torpor.v1` holds the generated stubs."""
