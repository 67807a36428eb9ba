-- The profile of whoever signs up, as velro makes it. Loaded after the seeds, whose orphans are users without one.
create or replace function public.handle_new_user() returns trigger language plpgsql security definer set search_path = ''
as $$ begin
  insert into public.users (id, email, full_name)
    values (new.id, coalesce(new.email, new.id::text), new.raw_user_meta_data ->> 'full_name')
    on conflict (id) do nothing;
  return new;
end $$;
revoke execute on function public.handle_new_user() from public, anon, authenticated;
create or replace trigger on_auth_user_created after insert on auth.users
  for each row execute function public.handle_new_user();
