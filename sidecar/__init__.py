"""Watches a Supabase-backed product and repairs it safely."""
