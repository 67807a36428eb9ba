-- Seeds N live users, M of them without their profile, everything from the seed except clock values.
-- Settings read here: seed.seed, seed.users, seed.orphans. Triggers are off (session_replication_role), since the
-- rows are consistent by construction and checking a million foreign keys one by one would take longer than this.

-- They are called stable, not immutable, since PostgreSQL inlines them only then (they call stable functions).
create function pg_temp.id(label text) returns uuid language sql stable as $$
  -- md5 shaped like a version 4 uuid, as Supabase Auth's ids are.
  select overlay(overlay(md5(current_setting('seed.seed') || ':' || label) placing '4' from 13) placing '8' from 17)::uuid
$$;

create function pg_temp.full_name(number bigint, salt bigint) returns text language sql stable as $$
  select (array['Amelia', 'Bruno', 'Chidi', 'Dalia', 'Emre', 'Freya', 'Goran', 'Hanna', 'Ines', 'Jonas', 'Keiko',
      'Lucía', 'Mateo', 'Nadia', 'Oskar', 'Priya'])[1 + (hashint8extended(number, salt) & 15)] || ' ' ||
    (array['Adler', 'Bianchi', 'Costa', 'Dimitrov', 'Eriksen', 'Ferreira', 'Gruber', 'Horvat', 'Ivanova', 'Jansen',
      'Kowalski', 'Lindqvist', 'Moreau', 'Novak', 'Okafor', 'Petrov'])[1 + ((hashint8extended(number, salt) >> 8) & 15)]
$$;

create function pg_temp.email(full_name text, number bigint) returns text language sql stable as $$
  select translate(lower(replace(full_name, ' ', '.')), 'í', 'i') || '.' || number || '@'
    || (array['example.com', 'example.net', 'example.org'])[1 + number % 3]
$$;

-- Every orphan is a user n where the line of slope M/N climbs a whole step: exactly M of N, evenly spread.
create temporary table seeded on commit drop as
  with settings as (
    select current_setting('seed.seed')::bigint as seed, current_setting('seed.users')::bigint as users,
      current_setting('seed.orphans')::bigint as orphans
  ), numbered as (
    select n, pg_temp.id('user:' || n) as id, pg_temp.full_name(n, seed) as full_name,
      n * orphans / users > (n - 1) * orphans / users as orphan,
      100 + (hashint8extended(n, seed + 1) & 2047)::integer as bought,
      1 + (hashint8extended(n, seed + 2) & 63)::integer as spent,
      now() - interval '1 hour' - (hashint8extended(n, seed + 3) & 4194303) * interval '1 second' as created_at
    from settings, generate_series(1, users) n
  )
  select *, pg_temp.email(full_name, n) as email from numbered order by id;

insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at)
  select id, email, case when n % 7 = 0 then '{}' else jsonb_build_object('full_name', full_name) end, created_at, created_at
  from seeded;

insert into public.users (id, email, full_name, credits_balance, created_at, updated_at)
  select id, email, case when n % 7 <> 0 then full_name end, bought - spent, created_at, created_at
  from seeded where not orphan;

insert into public.credit_transactions (id, user_id, transaction_type, amount, balance_after, description, created_at)
  select pg_temp.id('bought:' || n), id, 'purchase', bought, bought, 'Credit pack', created_at + interval '1 minute'
  from seeded;
insert into public.credit_transactions (id, user_id, transaction_type, amount, balance_after, description, created_at)
  select pg_temp.id('spent:' || n), id, 'usage', -spent, bought - spent, 'Image', created_at + interval '20 minutes'
  from seeded;

insert into public.generations (id, user_id, model_id, prompt, status, credits_used, created_at, completed_at)
  select pg_temp.id('generation:' || n), id, 'fal-ai/ideogram/v3', 'a lighthouse in the fog', 'completed', spent,
    created_at + interval '20 minutes', created_at + interval '21 minutes'
  from seeded where not orphan and n <= 500;
