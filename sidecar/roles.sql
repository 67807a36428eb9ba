-- Sidecar's three roles, its login, and the schema of its memory. Only the direct path (database.url) needs them.
-- Run it as the project's `postgres`; it may be run again at any time, and must be after a rule gained a table or a column:
--   psql -1 -v ON_ERROR_STOP=1 -f roles.sql    then give the login its password:    \password sidecar
--
-- detector reads every row and writes nothing; fixer inserts the rules' named columns and may correct their money;
-- operator deletes what an undo lists. The login inherits nothing: every transaction takes one of the three by SET LOCAL.
do $$ begin
  if to_regrole('sidecar_detector') is null then create role sidecar_detector nologin noinherit bypassrls; end if;
  if to_regrole('sidecar_fixer') is null then create role sidecar_fixer nologin noinherit; end if;
  if to_regrole('sidecar_operator') is null then create role sidecar_operator nologin noinherit; end if;
  if to_regrole('sidecar') is null then create role sidecar login noinherit; end if;
end $$;
alter role sidecar_detector set default_transaction_read_only = on;
grant sidecar_detector, sidecar_fixer, sidecar_operator to sidecar with inherit false, set true;
grant sidecar to current_user with inherit false, set true;   -- so that the next line may hand the schema over

create schema if not exists sidecar authorization sidecar;
revoke all on schema sidecar from public;
grant usage on schema sidecar to sidecar_detector, sidecar_fixer, sidecar_operator;

-- Users as the rules see them: never their passwords and tokens.
grant usage on schema auth to sidecar_detector;
do $$ declare named text; begin
  select string_agg(quote_ident(a.attname), ', ') into named from pg_catalog.pg_attribute a
  where a.attrelid = 'auth.users'::regclass and a.attnum > 0 and not a.attisdropped and a.attname in (
    'id', 'aud', 'role', 'email', 'phone', 'email_confirmed_at', 'phone_confirmed_at', 'confirmed_at', 'last_sign_in_at',
    'raw_user_meta_data', 'raw_app_meta_data', 'created_at', 'updated_at', 'deleted_at', 'banned_until', 'is_anonymous'
  );
  -- The last three say which version of a row was read, and nothing that is in it.
  execute 'grant select (' || named || ', tableoid, ctid, xmin) on auth.users to sidecar_detector';
end $$;

-- The canary, where the fixture is installed: a look must see it.
do $$ begin
  if to_regclass('public.sidecar_canary') is not null then
    grant usage on schema public to sidecar_detector;
    grant select on public.sidecar_canary to sidecar_detector;
  end if;
end $$;
