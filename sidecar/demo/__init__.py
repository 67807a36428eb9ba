"""The embedded stack: a real PostgreSQL, a Supabase stand-in over it, and a sample backend with the faults."""
