-- The users who must not be repaired, at least one of each kind; the user of the incident; and a canary login.
-- Each kind's name is the finding's class. Settings read here: seed.seed, seed.canary_password.

create temporary table special on commit drop as
  select kind, copy, pg_temp.id(kind || ':' || copy) as id,
    pg_temp.full_name(1000 * position + copy, current_setting('seed.seed')::bigint) as full_name,
    case kind when 'subject_anonymous' then null else
      pg_temp.email(pg_temp.full_name(1000 * position + copy, current_setting('seed.seed')::bigint),
        1000000000 + 1000 * position + copy) end as email,
    case kind when 'too_young' then now() - interval '1 minute' else now() - interval '3 days' end as created_at
  from (values
    (1, 'subject_gone', 2), (2, 'subject_deleted', 2), (3, 'subject_banned', 1), (4, 'subject_anonymous', 1),
    (5, 'email_taken', 2), (6, 'no_evidence', 2), (7, 'chain_broken', 2), (8, 'chain_ambiguous', 1),
    (9, 'opening_unexplained', 1), (10, 'balance_negative', 1), (11, 'too_young', 2)
  ) kinds (position, kind, copies), generate_series(1, copies) copy;

insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at, deleted_at, banned_until, is_anonymous)
  select id, email, jsonb_build_object('full_name', full_name), created_at, created_at,
    case kind when 'subject_deleted' then now() - interval '1 day' end,
    case kind when 'subject_banned' then now() + interval '10 years' end,
    kind = 'subject_anonymous'
  from special where kind <> 'subject_gone';

-- Their ledgers, by kind. `minute` counts from the user's creation; rows of one minute are tied in time.
-- Kinds without a ledger of their own have a sound one: it is the subject that stands in the way.
with pattern (kind, minute, step, amount, balance_after) as (values
    ('sound', 1, 1, 800, 800), ('sound', 20, 2, -30, 770),
    ('no_evidence', 1, 1, 800, null), ('no_evidence', 20, 2, -30, null),
    ('chain_broken', 1, 1, 1000, 1000), ('chain_broken', 20, 2, -45, 955), ('chain_broken', 40, 3, -45, 800),
    -- From 100, up and down again or down and up again: both orders hold, and no column says which it was.
    ('chain_ambiguous', 1, 1, 100, 100), ('chain_ambiguous', 20, 2, 10, 110), ('chain_ambiguous', 20, 3, -10, 100),
    ('chain_ambiguous', 20, 4, -10, 90), ('chain_ambiguous', 20, 5, 10, 100),
    ('opening_unexplained', 1, 1, -45, 955), ('opening_unexplained', 20, 2, -5, 950),
    ('balance_negative', 1, 1, 50, 50), ('balance_negative', 20, 2, -80, -30),
    ('too_young', 0, 1, 500, 500)
  )
insert into public.credit_transactions (id, user_id, transaction_type, amount, balance_after, description, created_at)
  select pg_temp.id('special:' || s.kind || ':' || s.copy || ':' || p.step), s.id,
    case when p.amount < 0 then 'usage' else 'purchase' end, p.amount, p.balance_after, 'Seeded',
    s.created_at + p.minute * interval '1 minute'
  from special s join pattern p
    on p.kind = case when s.kind in (select kind from pattern) then s.kind else 'sound' end;

-- Somebody else's profile holds the e-mail: its owner changed addresses, and the profile was not told.
insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at)
  select pg_temp.id('taker:' || copy), 'moved.' || email, jsonb_build_object('full_name', full_name), created_at, created_at
  from special where kind = 'email_taken';
insert into public.users (id, email, full_name, credits_balance, created_at, updated_at)
  select pg_temp.id('taker:' || copy), email, full_name, 0, created_at, created_at
  from special where kind = 'email_taken';

-- The user of the incident: 1200 credits, and every paid action fails.
insert into auth.users (id, email, raw_user_meta_data, created_at, updated_at)
  values ('22cb3917-57f6-49c6-ac96-ec266570081b', 'demo@velro.app', '{"full_name": "Demo User"}',
    now() - interval '30 days', now() - interval '30 days');
insert into public.credit_transactions (id, user_id, transaction_type, amount, balance_after, description, created_at)
  select pg_temp.id('demo:' || step), '22cb3917-57f6-49c6-ac96-ec266570081b', type, amount, balance_after, text,
    now() - interval '30 days' + step * interval '1 day'
  from (values (1, 'bonus', 1000, 1000, 'Welcome bonus'), (2, 'purchase', 500, 1500, 'Credit pack'),
    (3, 'usage', -350, 1150, 'Video'), (4, 'refund', 50, 1200, 'Failed image')) rows (step, type, amount, balance_after, text);

-- Somebody who can sign in, for checks that look as a user.
insert into auth.users (id, email, encrypted_password, raw_user_meta_data, created_at, updated_at)
  select pg_temp.id('canary'), 'canary@velro.app', 'sha256$' || salt || '$' ||
    encode(sha256(convert_to(salt || current_setting('seed.canary_password'), 'UTF8')), 'hex'),
    '{"full_name": "Canary User"}', now() - interval '30 days', now() - interval '30 days'
  from md5(current_setting('seed.seed') || ':salt') salt;
insert into public.users (id, email, full_name, credits_balance)
  values (pg_temp.id('canary'), 'canary@velro.app', 'Canary User', 500);
insert into public.credit_transactions (id, user_id, transaction_type, amount, balance_after, description, created_at)
  values (pg_temp.id('canary:1'), pg_temp.id('canary'), 'bonus', 500, 500, 'Welcome bonus', now() - interval '30 days');
