-- A Supabase project with velro's shape, as far as the incident needs it. Load it as superuser into an empty database.
--
-- Passwords: PostgreSQL's pgcrypto is not in the wheel, so auth.users.encrypted_password holds
-- 'sha256$' || salt || '$' || hex(sha256(salt || password)), all UTF-8, instead of Supabase's bcrypt.

-- Roles belong to the whole cluster, so they may be there already.
do $$ begin
  if to_regrole('anon') is null then create role anon nologin noinherit; end if;
  if to_regrole('authenticated') is null then create role authenticated nologin noinherit; end if;
  if to_regrole('service_role') is null then create role service_role nologin noinherit bypassrls; end if;
  if to_regrole('authenticator') is null then create role authenticator login noinherit; end if;
end $$;
grant anon, authenticated, service_role to authenticator;
alter role anon set statement_timeout = '3s';
alter role authenticated set statement_timeout = '8s';
alter role authenticator set statement_timeout = '8s';

create schema auth;
grant usage on schema auth, public to anon, authenticated, service_role;

create function auth.jwt() returns jsonb language sql stable
  as $$ select nullif(current_setting('request.jwt.claims', true), '')::jsonb $$;
create function auth.uid() returns uuid language sql stable
  as $$ select nullif(auth.jwt() ->> 'sub', '')::uuid $$;
create function auth.role() returns text language sql stable
  as $$ select auth.jwt() ->> 'role' $$;

create table auth.users (
  id uuid primary key default gen_random_uuid(),
  email text,
  encrypted_password text,
  raw_user_meta_data jsonb not null default '{}',
  raw_app_meta_data jsonb not null default '{"provider": "email", "providers": ["email"]}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,
  banned_until timestamptz,
  is_anonymous boolean not null default false
);
-- Like Supabase Auth's partial index: an e-mail may be registered again once its user is deleted.
create unique index users_email_partial_key on auth.users (email) where deleted_at is null;

create table public.users (
  id uuid primary key references auth.users (id) on delete cascade,
  email text not null unique,
  full_name text,
  avatar_url text,
  is_active boolean not null default true,
  credits_balance integer not null default 1000 check (credits_balance >= 0),
  current_plan text not null default 'free' check (current_plan in ('free', 'basic', 'pro', 'enterprise')),
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table public.ai_models (
  id text primary key,
  name text not null,
  type text not null check (type in ('image', 'video')),
  credits integer not null check (credits > 0),
  is_active boolean not null default true,
  created_at timestamptz not null default now()
);

create table public.generations (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null references public.users (id) on delete cascade,
  model_id text not null references public.ai_models (id),
  prompt text not null,
  status text not null default 'pending' check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
  credits_used integer not null default 0 check (credits_used >= 0),
  media_url text,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now(),
  completed_at timestamptz
);
create index generations_user_id_idx on public.generations (user_id);

-- velro's own migration cascades the ledger from the profile, which makes a ledger without a profile impossible there.
-- Here user_id means auth.users (id), without a foreign key: Supabase Auth forgets users whose ledger must stay, and
-- such rows are one of the kinds that the demo seeds (subject_gone).
create table public.credit_transactions (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null,
  generation_id uuid references public.generations (id) on delete set null,
  transaction_type text not null check (transaction_type in ('purchase', 'usage', 'refund', 'bonus')),
  amount integer not null,
  balance_after integer, -- velro's older rows lack it
  description text,
  metadata jsonb not null default '{}',
  created_at timestamptz not null default now()
);
create index credit_transactions_user_id_idx on public.credit_transactions (user_id);
comment on column public.credit_transactions.user_id is 'auth.users (id), which may be gone';

-- Supabase grants everything to the API's roles and leaves the rest to row level security.
grant all on all tables in schema public to anon, authenticated, service_role;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
alter default privileges in schema public grant execute on functions to anon, authenticated, service_role;
-- The exception is money: velro's policies let users forge their ledger and set their own balance; the faults
-- forgeable_ledger and writable_balance allow it again.
revoke all on public.credit_transactions from anon, authenticated;
grant select on public.credit_transactions to anon, authenticated;
revoke insert, update on public.users from anon, authenticated;
grant update (full_name, avatar_url) on public.users to authenticated;

alter table public.users enable row level security;
alter table public.ai_models enable row level security;
alter table public.generations enable row level security;
alter table public.credit_transactions enable row level security;

create policy "Users see their own profile" on public.users for select using (auth.uid() = id);
create policy "Users change their own profile" on public.users for update using (auth.uid() = id);
create policy "Everyone sees active models" on public.ai_models for select using (is_active);
create policy "Users see their own generations" on public.generations for select using (auth.uid() = user_id);
create policy "Users make their own generations" on public.generations for insert with check (auth.uid() = user_id);
create policy "Users change their own generations" on public.generations for update using (auth.uid() = user_id);
create policy "Users delete their own generations" on public.generations for delete using (auth.uid() = user_id);
create policy "Users see their own ledger" on public.credit_transactions for select using (auth.uid() = user_id);
