"""The Alembic environment that the mesh and all services share, and the mesh's own revisions."""
