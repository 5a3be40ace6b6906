"""Usage, margins and statements: every figure equals the ledger, and leads back to its jobs."""
