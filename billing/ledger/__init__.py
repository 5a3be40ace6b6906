"""The double-entry ledger: wallets, holds, captures, and the proof that they add up."""
