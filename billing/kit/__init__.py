"""Primitives shared by both packages: typed SQL, ids, money, group commit, migrations."""
