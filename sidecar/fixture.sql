-- Sidecar's optional fixture for a Supabase project: a canary row and two read-only functions for the service key.
-- It may be run again at any time: psql -1 -v ON_ERROR_STOP=1 -v nonce=RANDOM -f fixture.sql

-- The canary. Row level security is on and there is no policy, on purpose: an anon key that works sees no row, which
-- cannot be confused with an anon key that does not work; a service key that bypasses row level security sees one.
create table if not exists public.sidecar_canary (
  id integer primary key,
  nonce text not null,
  touched_at timestamptz not null default now()
);
alter table public.sidecar_canary enable row level security;
revoke all on public.sidecar_canary from public, anon, authenticated, service_role;
grant select on public.sidecar_canary to anon, authenticated;
grant select, update on public.sidecar_canary to service_role;
insert into public.sidecar_canary (id, nonce) values (1, :'nonce')
  on conflict (id) do update set nonce = excluded.nonce, touched_at = now();

-- Who is asking, and does row level security apply to them? A name that is no table comes back as null.
create or replace function public.sidecar_rls_probe(t text[]) returns jsonb
language sql stable security invoker set search_path = '' as $$
  select jsonb_build_object(
    'user', current_user,
    'bypass', (select r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = current_user),
    'claims_role', nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb ->> 'role',
    'tables', (
      select coalesce(jsonb_object_agg(asked.name, case when c.oid is not null then jsonb_build_object(
        'rls', c.relrowsecurity,
        'force', c.relforcerowsecurity,
        'active', pg_catalog.row_security_active(c.oid),
        'sel', pg_catalog.has_table_privilege(c.oid, 'select'),
        'upd', pg_catalog.has_table_privilege(c.oid, 'update')
      ) end), '{}')
      from pg_catalog.unnest(t) asked (name)
      left join pg_catalog.pg_class c on c.oid = pg_catalog.to_regclass(asked.name)
    )
  )
$$;

-- What a repair must know before it writes: the target's shape, what an insert would set off, who may write the ledger.
create or replace function public.sidecar_catalogue(target regclass, ledger regclass) returns jsonb
language sql stable security invoker set search_path = '' as $$
  select jsonb_build_object(
    -- Which database this is, whatever address leads to it: a restored copy is another one, a standby is the same.
    'database', (
      select pg_catalog.md5(system_identifier || '/' || pg_catalog.current_database())
      from pg_catalog.pg_control_system()
    ),
    'columns', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', a.attname,
        'type', pg_catalog.format_type(a.atttypid, a.atttypmod),
        'nullable', not a.attnotnull,
        'default', case
          when a.attidentity <> '' then 'identity'
          when a.attgenerated = '' then coalesce(pg_catalog.pg_get_expr(d.adbin, d.adrelid), ty.typdefault)
        end,
        'generated', a.attgenerated <> '' or a.attidentity = 'a'
      ) order by a.attnum), '[]')
      from pg_catalog.pg_attribute a
      join pg_catalog.pg_type ty on ty.oid = a.atttypid
      left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attrelid = target and a.attnum > 0 and not a.attisdropped
    ),
    -- A rewrite rule does what a trigger does, so it is listed among them. A partition may have triggers of its own.
    'triggers', (
      select coalesce(jsonb_agg(found.name order by found.name), '[]') from (
        select g.tgname::text as name from pg_catalog.pg_trigger g where not g.tgisinternal and (
          g.tgrelid = target or g.tgrelid in (select p.relid from pg_catalog.pg_partition_tree(target) p)
        )
        union
        select 'rule ' || r.rulename from pg_catalog.pg_rewrite r where r.ev_class = target and r.rulename <> '_RETURN'
      ) found
    ),
    'foreign_keys', (
      select coalesce(jsonb_agg(pg_catalog.pg_get_constraintdef(k.oid) order by k.conname), '[]')
      from pg_catalog.pg_constraint k where k.conrelid = target and k.contype = 'f'
    ),
    -- A partial index makes nothing unique on its own, so its condition stands beside each of its columns.
    'uniques', (
      select coalesce(jsonb_agg(u.columns order by u.name), '[]') from (
        select i.indexrelid::regclass::text as name, (
          select jsonb_agg(
            coalesce(a.attname::text, pg_catalog.pg_get_indexdef(i.indexrelid, part.position::integer, false))
            || coalesce(' where ' || pg_catalog.pg_get_expr(i.indpred, i.indrelid), '') order by part.position)
          from pg_catalog.unnest(i.indkey::smallint[]) with ordinality part (attnum, position)
          left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = part.attnum and part.attnum > 0
          where part.position <= i.indnkeyatts
        ) as columns
        from pg_catalog.pg_index i where i.indrelid = target and i.indisunique and i.indisvalid
      ) u
    ),
    -- Where a movement is deleted with its profile, nothing of the ledger is left to restore the profile from.
    'ledger_cascades', exists (
      select from pg_catalog.pg_constraint k
      where k.conrelid = ledger and k.confrelid = target and k.contype = 'f' and k.confdeltype = 'c'
    ),
    -- A privilege without a policy, or the other way round, is one change away from a forged ledger: either counts.
    -- A partition is a table of its own to the API, with privileges and policies of its own.
    'ledger_writers', (
      select coalesce(jsonb_agg(r.rolname order by r.rolname), '[]')
      from pg_catalog.pg_roles r
      where r.rolname in ('anon', 'authenticated') and exists (
        select from (
          select ledger as part union select t.relid from pg_catalog.pg_partition_tree(ledger) t
        ) parts
        where pg_catalog.has_table_privilege(r.oid, parts.part, 'insert, update, delete, truncate')
          or pg_catalog.has_any_column_privilege(r.oid, parts.part, 'insert, update')
          or exists (
            select from pg_catalog.pg_policy p
            where p.polrelid = parts.part and p.polpermissive and p.polcmd in ('a', 'w', 'd', '*')
              and exists (
                select from pg_catalog.unnest(p.polroles) named (role)
                where named.role = 0 or pg_catalog.pg_has_role(r.oid, named.role, 'member')
              )
          )
      )
    )
  )
$$;

revoke execute on function public.sidecar_rls_probe(text[]) from public, anon, authenticated;
revoke execute on function public.sidecar_catalogue(regclass, regclass) from public, anon, authenticated;
grant execute on function public.sidecar_rls_probe(text[]) to service_role;
grant execute on function public.sidecar_catalogue(regclass, regclass) to service_role;
notify pgrst, 'reload schema';
