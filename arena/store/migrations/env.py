"""Alembic's entry: always on a connection that `arena.store.migrate` opened, inside its transaction."""

from alembic import context

from arena.store.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=True,
    transactional_ddl=True,
    include_name=lambda name, kind, _: kind != "table" or name in metadata.tables,  # a shared PostgreSQL database may hold other tables
)
with context.begin_transaction():
    context.run_migrations()
