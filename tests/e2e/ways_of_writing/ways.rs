//! The ways of writing. Each begins with the customers `a` (gold, Oslo) and `b` (silver, Rome) in the partition `eu`, and `c`
//! (tin, Lima) in `us`; `tier` and `city` are sent, `note` and `region` are not.

use super::Table;

/// One thing that a writer does.
pub enum Step {
    /// Statements in one message: one transaction, unless they say otherwise.
    Run(&'static str),
    /// The same, which fails with this SQLSTATE.
    Fails(&'static str, &'static str),
    /// `COPY … FROM STDIN` with these rows.
    Copy(&'static str, &'static str),
    /// The same, which fails with this SQLSTATE.
    CopyFails(&'static str, &'static str, &'static str),
    /// A statement that is prepared once, in the extended protocol, and run with each of these arguments.
    Prepared(&'static str, &'static [&'static str]),
}

pub struct Way {
    pub name: &'static str,
    pub steps: &'static [Step],
    /// Entries in their order: id, tier, city; `-` for what is not sent.
    expected: &'static [&'static str],
    /// Where a partitioned table sends something else.
    expected_of_partitioned: Option<&'static [&'static str]>,
    /// The only kind of table that has this way.
    pub only: Option<Table>,
    /// The first version of PostgreSQL with this way.
    pub since: i32,
    /// PostgreSQL leaves the order open.
    pub unordered: bool,
    /// It needs triggers or rules of its own, which are silent in a session that replicates.
    pub by_triggers: bool,
}

const fn way(name: &'static str, steps: &'static [Step], expected: &'static [&'static str]) -> Way {
    Way {
        name,
        steps,
        expected,
        expected_of_partitioned: None,
        only: None,
        since: 0,
        unordered: false,
        by_triggers: false,
    }
}

impl Way {
    pub fn expected(&self, table: Table) -> &'static [&'static str] {
        match (table, self.expected_of_partitioned) {
            (Table::Partitioned, Some(expected)) => expected,
            _ => self.expected,
        }
    }

    const fn partitioned(self, expected: &'static [&'static str]) -> Self {
        Self {
            expected_of_partitioned: Some(expected),
            ..self
        }
    }

    const fn only(self, table: Table) -> Self {
        Self {
            only: Some(table),
            ..self
        }
    }

    const fn since(self, version: i32) -> Self {
        Self { since: version, ..self }
    }

    const fn unordered(self) -> Self {
        Self {
            unordered: true,
            ..self
        }
    }

    const fn by_triggers(self) -> Self {
        Self {
            by_triggers: true,
            ..self
        }
    }
}

use Step::{Copy, CopyFails, Fails, Prepared, Run};

pub const WAYS: &[Way] = &[
    // The first one is tried with the triggers in each state.
    way(
        "insert, update and copy",
        &[Run("insert into customer values ('d', 'us', 'zinc', 'Bern')"), Run("update customer set tier = upper(tier) where id < 'c'"),
          Copy("copy customer (id, tier) from stdin", "e\tiron\n")],
        &["d zinc Bern", "a GOLD Oslo", "b SILVER Rome", "e iron -"],
    ),
    // ---- INSERT
    way(
        "insert",
        &[Run("insert into customer values ('d', 'eu', 'zinc', 'Bern')")],
        &["d zinc Bern"],
    ),
    way(
        "insert of several rows",
        &[Run("insert into customer values ('d', 'us', 'zinc', 'Bern'), ('e', 'eu', 'iron', null), ('f', 'us', 'lead', 'Rome')")],
        &["d zinc Bern", "e iron -", "f lead Rome"],
    ),
    way(
        "insert returning",
        &[Run("insert into customer (id, tier) values ('d', 'zinc') returning id, tier")],
        &["d zinc -"],
    ),
    way(
        "insert of NULLs",
        &[Run("insert into customer (id, note) values ('d', 'nothing to send')")],
        &[],
    ),
    way(
        "insert select",
        &[Run("insert into customer select 'x' || id, region, upper(tier) from customer order by id")],
        &["xa GOLD -", "xb SILVER -", "xc TIN -"],
    ),
    way(
        "insert on conflict do nothing",
        &[Run("insert into customer values ('a', 'eu', 'never', 'never'), ('d', 'eu', 'zinc', 'Bern') on conflict do nothing")],
        &["d zinc Bern"],
    ),
    way(
        "insert on conflict do update",
        &[Run("insert into customer values ('a', 'eu', 'iron', 'never'), ('d', 'eu', 'zinc', 'Bern'), ('b', 'eu', 'silver', 'never')
               on conflict (id, region) do update set tier = excluded.tier")],
        &["a iron Oslo", "d zinc Bern"],
    ),
    way(
        "insert on conflict do update where",
        &[Run("insert into customer values ('a', 'eu', 'iron'), ('b', 'eu', 'lead')
               on conflict (id, region) do update set tier = excluded.tier where customer.tier <> 'gold'")],
        &["b lead Rome"],
    ),
    way(
        "insert of default values, those of a view",
        &[Run("create view fresh as select id, tier from customer; alter view fresh alter id set default 'd';
               alter view fresh alter tier set default 'zinc'; insert into fresh default values")],
        &["d zinc -"],
    ),
    // ---- UPDATE
    way(
        "update of one row",
        &[Run("update customer set tier = 'iron' where id = 'a'")],
        &["a iron Oslo"],
    ),
    way(
        "update of many rows",
        &[Run("update customer set tier = upper(tier)")],
        &["a GOLD Oslo", "b SILVER Rome", "c TIN Lima"],
    ),
    way(
        "update from",
        &[Run("update customer c set city = s.city from (values ('a', 'Bern'), ('b', 'Rome')) s (id, city) where s.id = c.id")],
        &["a gold Bern"],
    ),
    way(
        "update of a row twice",
        &[Run("update customer set tier = 'iron' where id = 'a'; update customer set tier = 'lead' where id = 'a'")],
        &["a iron Oslo", "a lead Oslo"],
    ),
    way(
        "update where current of",
        &[Run("begin; declare c cursor for select * from customer order by id for update; fetch c;
               update customer set tier = 'iron' where current of c; fetch c;
               update customer set note = 'x' where current of c; commit")],
        &["a iron Oslo"],
    ),
    way(
        "update of the id",
        &[Run("update customer set id = 'z' where id = 'a'")],
        &["z gold Oslo"],
    ),
    way(
        "update that swaps two ids",
        &[Run("update customer set id = case id when 'a' then 'c' else 'a' end where id in ('a', 'c')")],
        &["c gold Oslo", "a tin Lima"],
    ),
    // A plain table has no partitions: nothing that is sent has changed. In a partitioned one the row is deleted and inserted.
    way(
        "update that moves a row to another partition",
        &[Run("update customer set region = 'us' where id = 'a'")],
        &[],
    )
    .partitioned(&["a gold Oslo"]),
    way(
        "update that moves and changes",
        &[Run("update customer set region = 'us', tier = 'iron' where id = 'a'")],
        &["a iron Oslo"],
    ),
    way(
        "update of nothing watched",
        &[Run("update customer set note = 'x'")],
        &[],
    ),
    way(
        "update to the same values",
        &[Run("update customer set tier = tier, city = city")],
        &[],
    ),
    way(
        "update of no row",
        &[Run("update customer set tier = 'iron' where false")],
        &[],
    ),
    way(
        "update to NULL",
        &[Run("update customer set city = null where id = 'a'; update customer set tier = null where id = 'a'")],
        &["a gold -"],
    ),
    way(
        "select for update, then update",
        &[Run("begin; select * from customer where id = 'a' for update; update customer set tier = 'iron' where id = 'a'; commit")],
        &["a iron Oslo"],
    ),
    way(
        "update only",
        &[Run("update only customer set tier = 'iron' where id = 'a'")],
        &["a iron Oslo"],
    )
    .partitioned(&[]),
    // ---- MERGE
    way(
        "merge",
        &[Run("merge into customer c
               using (values (1, 'a', 'iron'), (2, 'b', 'silver'), (3, 'c', null), (4, 'd', 'zinc'), (5, 'e', null)) s (n, id, tier)
               on c.id = s.id
               when matched and s.tier is null then delete
               when matched then update set tier = s.tier
               when not matched and s.tier is null then do nothing
               when not matched then insert (id, tier) values (s.id, s.tier)")],
        &["a iron Oslo", "d zinc -"],
    )
    .since(15),
    way(
        "merge that does nothing",
        &[Run("merge into customer c using (values ('a'), ('d')) s (id) on c.id = s.id
               when matched then do nothing when not matched then do nothing")],
        &[],
    )
    .since(15),
    way(
        "merge that deletes",
        &[Run("merge into customer c using (values ('a')) s (id) on c.id = s.id when matched then delete")],
        &[],
    )
    .since(15),
    way(
        "merge that moves",
        &[Run("merge into customer c using (values ('a')) s (id) on c.id = s.id
               when matched then update set region = 'us', city = 'Bern'")],
        &["a gold Bern"],
    )
    .since(15),
    // ---- COPY
    way(
        "copy",
        &[Copy("copy customer (id, region, tier, city) from stdin", "d\teu\tzinc\tBern\ne\tus\tiron\t\\N\n")],
        &["d zinc Bern", "e iron -"],
    ),
    way(
        "copy where, as csv",
        &[Copy(
            "copy customer (id, tier) from stdin (format csv, header) where tier <> 'iron'",
            "id,tier\nd,zinc\ne,iron\n",
        )],
        &["d zinc -"],
    ),
    way(
        "copy that fails",
        &[CopyFails("copy customer (id, region, tier) from stdin", "d\teu\tnever\na\teu\tnever\n", "23505"),
          Run("update customer set tier = 'iron' where id = 'a'")],
        &["a iron Oslo"],
    ),
    way(
        "copy freeze",
        &[Run("begin; truncate customer"), Copy("copy customer (id, tier) from stdin (freeze)", "d\tzinc\n"), Run("commit")],
        &["d zinc -"],
    )
    .only(Table::Plain),
    way(
        "copy into a partition",
        &[Copy("copy customer_us (id, region, tier) from stdin", "d\tus\tzinc\n")],
        &["d zinc -"],
    )
    .only(Table::Partitioned),
    // ---- several in one statement
    way(
        "statements in WITH, on one table",
        &[Run("with i as (insert into customer values ('d', 'us', 'zinc')), u as (update customer set tier = 'iron' where id = 'a')
               update customer set city = 'Bern' where id = 'b'")],
        &["a iron Oslo", "b silver Bern", "d zinc -"],
    )
    .unordered(),
    way(
        "delete and insert in one statement",
        &[Run("with gone as (delete from customer where id in ('a', 'c') returning *)
               insert into customer select id || 'x', region, tier, city from gone order by id")],
        &["ax gold Oslo", "cx tin Lima"],
    ),
    way(
        "select that calls a function that writes",
        &[Run("create function promote(text) returns void language sql as
               $$ update customer set tier = tier || '+' where id = $1 $$;
               select promote(id) from (values ('b'), ('a'), ('b')) v (id)")],
        &["b silver+ Rome", "a gold+ Oslo", "b silver++ Rome"],
    ),
    // ---- views and rules
    way(
        "auto-updatable view",
        &[Run("create view eu as select id, region, tier as level from customer where region = 'eu' with check option;
               insert into eu values ('d', 'eu', 'zinc'); update eu set level = 'iron' where id = 'a'"),
          Fails("insert into eu values ('e', 'us', 'never')", "44000")],
        &["d zinc -", "a iron Oslo"],
    ),
    way(
        "view with an INSTEAD OF trigger",
        &[Run("create view face as select id, tier from customer;
               create function write() returns trigger language plpgsql as $$ begin
                   if tg_op = 'INSERT' then insert into customer (id, tier) values (new.id, new.tier);
                   else update customer set tier = new.tier where id = old.id; end if; return new; end $$;
               create trigger write instead of insert or update on face for each row execute function write();
               insert into face values ('d', 'zinc'); update face set tier = 'iron' where id = 'a'"),
          Copy("copy face (id, tier) from stdin", "e\tlead\n")],
        &["d zinc -", "a iron Oslo", "e lead -"],
    )
    .by_triggers(),
    way(
        "rule",
        &[Run("create table inbox (id text, tier text);
               create rule forward as on insert to inbox do instead insert into customer (id, tier) values (new.id, new.tier);
               create rule also as on insert to inbox do also update customer set city = 'Bern' where id = 'a';
               insert into inbox values ('d', 'zinc'), ('e', 'lead')")],
        &["a gold Bern", "d zinc -", "e lead -"],
    )
    .by_triggers(),
    // ---- parts of tables
    way(
        "straight into a partition",
        &[Run("insert into customer_us values ('d', 'us', 'zinc')"), Run("update customer_us set tier = 'iron' where id = 'c'"),
          Run("update customer_us set note = 'x'")],
        &["d zinc -", "c iron Lima"],
    )
    .only(Table::Partitioned),
    way(
        "partition that is attached",
        &[Run("create table customer_asia (note text, gone int, city text, tier text, region text, id text);
               alter table customer_asia drop gone;
               insert into customer_asia (id, region, tier) values ('d', 'asia', 'zinc');
               alter table customer attach partition customer_asia for values in ('asia')")],
        &[],
    )
    .only(Table::Partitioned),
    way(
        "row of a partition that was attached or created since",
        &[Run("create table customer_asia (note text, gone int, city text, tier text, region text, id text);
               alter table customer_asia drop gone;
               insert into customer_asia (id, region, tier) values ('d', 'asia', 'zinc');
               alter table customer attach partition customer_asia for values in ('asia');
               create table customer_rest partition of customer default"),
          Run("update customer set tier = 'iron' where id = 'd'"),
          Run("insert into customer values ('e', 'moon', 'lead')"),
          Run("insert into customer_asia (id, region, tier) values ('f', 'asia', 'lead')")],
        &["d iron -", "e lead -", "f lead -"],
    )
    .only(Table::Partitioned)
    .since(15),
    way(
        "partition that is detached",
        &[Run("alter table customer detach partition customer_us"),
          Run("update customer_us set tier = 'iron'; insert into customer_us values ('d', 'us', 'zinc')")],
        &[],
    )
    .only(Table::Partitioned),
    way(
        "partition of a partition",
        &[Run("create table customer_asia partition of customer for values in ('asia') partition by list (id);
               create table customer_asia_d partition of customer_asia for values in ('d');
               create table customer_asia_e partition of customer_asia for values in ('e')"),
          Run("insert into customer values ('d', 'asia', 'zinc')"), Run("update customer_asia set id = 'e' where id = 'd'"),
          Run("update customer_asia_e set tier = 'iron'")],
        &["d zinc -", "e zinc -", "e iron -"],
    )
    .only(Table::Partitioned)
    .since(15),
    // A trigger belongs to its table, not to the tables that inherit from it.
    way(
        "child that inherits",
        &[Run("create table vip (gift text) inherits (customer); insert into vip (id, tier) values ('d', 'zinc')"),
          Run("update customer set tier = 'iron' where id in ('a', 'd')"), Run("update vip set tier = 'lead'")],
        &["a iron Oslo"],
    )
    .only(Table::Plain),
    // ---- procedural code
    way(
        "block whose exceptions are caught",
        &[Run("do $$ begin
                   insert into customer values ('d', 'eu', 'zinc');
                   for i in 1..3 loop
                       begin
                           update customer set tier = tier || i where id = 'a';
                           if i = 2 then perform 1 / 0; end if;
                       exception when division_by_zero then update customer set city = 'Bern' where id = 'b';
                       end;
                   end loop;
                   execute 'update customer set tier = $1 where id = $2' using 'lead', 'd';
               end $$")],
        &["d zinc -", "a gold1 Oslo", "b silver Bern", "a gold13 Oslo", "d lead -"],
    ),
    way(
        "block that fails",
        &[Fails("do $$ begin update customer set tier = 'iron'; perform 1 / 0; end $$", "22012")],
        &[],
    ),
    way(
        "procedure that commits",
        &[Run("create procedure several() language plpgsql as $$ begin
                   for i in 1..4 loop
                       update customer set tier = 'level ' || i where id = 'a';
                       if i = 3 then rollback; else commit; end if;
                   end loop;
               end $$"),
          Run("call several()")],
        &["a level 1 Oslo", "a level 2 Oslo", "a level 4 Oslo"],
    ),
    way(
        "prepared statement",
        &[Prepared("update customer set tier = $1 where id = 'a'", &["t1", "t2", "t2", "t3", "t4", "t5", "t6", "t7"]),
          Run("prepare p (text) as insert into customer (id, tier) values ($1, 'zinc'); execute p ('d'); execute p ('e'); deallocate p")],
        &["a t1 Oslo", "a t2 Oslo", "a t3 Oslo", "a t4 Oslo", "a t5 Oslo", "a t6 Oslo", "a t7 Oslo", "d zinc -", "e zinc -"],
    ),
    // ---- by other triggers
    way(
        "BEFORE trigger that changes a watched column",
        &[Run("create function stamp() returns trigger language plpgsql as $$ begin new.tier := 'stamped'; return new; end $$;
               create trigger stamp before insert or update on customer for each row execute function stamp()"),
          Run("update customer set note = 'x' where id = 'a'"), Run("update customer set note = 'y' where id = 'a'"),
          Run("insert into customer (id) values ('d')")],
        &["a stamped Oslo", "d stamped -"],
    )
    .by_triggers(),
    way(
        "BEFORE trigger that takes the row away",
        &[Run("create function refuse() returns trigger language plpgsql as $$ begin return null; end $$;
               create trigger refuse before insert or update on customer for each row execute function refuse()"),
          Run("update customer set tier = 'never'"), Run("insert into customer values ('d', 'eu', 'never')")],
        &[],
    )
    .by_triggers(),
    way(
        "AFTER trigger that updates the same table",
        &[Run("create function follow() returns trigger language plpgsql as $$ begin
                   update customer set city = 'of ' || new.tier where id = 'b'; return null; end $$;
               create trigger follow after update of tier on customer for each row when (new.id = 'a') execute function follow()"),
          Run("update customer set tier = 'iron' where id in ('a', 'c')")],
        // Its name comes before ours: what it writes is collected before the row that it was fired for.
        &["b silver of iron", "a iron Oslo", "c iron Lima"],
    )
    .by_triggers(),
    way(
        "trigger of another table",
        &[Run("create table orders (customer text, amount int);
               create function promote() returns trigger language plpgsql as $$ begin
                   update customer set tier = 'after ' || new.amount where id = new.customer; return null; end $$;
               create trigger promote after insert on orders for each row execute function promote();
               insert into orders values ('a', 1), ('b', 2), ('a', 3)")],
        &["a after 1 Oslo", "b after 2 Rome", "a after 3 Oslo"],
    )
    .by_triggers(),
    way(
        "foreign key, on update cascade and on delete set null",
        &[Run("create table level (name text primary key); insert into level values ('gold'), ('silver'), ('tin');
               alter table customer add foreign key (tier) references level on update cascade on delete set null"),
          Run("update level set name = upper(name)"), Run("delete from level where name = 'SILVER'")],
        &["a GOLD Oslo", "b SILVER Rome", "c TIN Lima", "b - Rome"],
    )
    .by_triggers(),
    way(
        "constraint trigger, deferred to the commit",
        &[Run("create function welcome() returns trigger language plpgsql as $$ begin
                   update customer set city = 'Bern' where id = new.id; return null; end $$;
               create constraint trigger welcome after insert on customer deferrable initially deferred
                   for each row execute function welcome()"),
          Run("begin; insert into customer values ('d', 'eu', 'zinc'); update customer set tier = 'iron' where id = 'a'; commit"),
          Run("begin; insert into customer values ('e', 'eu', 'lead'); set constraints all immediate; commit")],
        &["d zinc -", "a iron Oslo", "d zinc Bern", "e lead -", "e lead Bern"],
    )
    .by_triggers(),
    // ---- transactions
    way(
        "transaction that is rolled back",
        &[Run("begin; update customer set tier = 'never'; rollback")],
        &[],
    ),
    way(
        "savepoints",
        &[Run("begin; update customer set tier = 'iron' where id = 'a'; savepoint s; update customer set tier = 'never'; rollback to s;
               update customer set tier = 'lead' where id = 'b'; savepoint t; update customer set city = 'Bern' where id = 'b';
               release t; savepoint u; update customer set city = 'never'; savepoint v; update customer set city = 'never, never';
               release v; rollback to u; commit")],
        &["a iron Oslo", "b lead Rome", "b lead Bern"],
    ),
    way(
        "two-phase commit",
        &[Run("begin"), Run("update customer set tier = 'iron' where id = 'a'"), Run("prepare transaction 'ways kept'"),
          Run("commit prepared 'ways kept'"),
          Run("begin"), Run("update customer set tier = 'never' where id = 'b'"), Run("prepare transaction 'ways dropped'"),
          Run("rollback prepared 'ways dropped'")],
        &["a iron Oslo"],
    ),
    way(
        "repeatable read and serializable",
        &[Run("begin isolation level repeatable read; update customer set tier = 'iron' where id = 'a'; commit"),
          Run("begin isolation level serializable; update customer set tier = 'lead' where id = 'a'; commit")],
        &["a iron Oslo", "a lead Oslo"],
    ),
    way(
        "statement that fails half way",
        &[Run("alter table customer add check (tier <> 'bad')"),
          Fails("update customer set tier = case id when 'c' then 'bad' else 'never' end", "23514"),
          Run("update customer set tier = 'iron' where id = 'a'")],
        &["a iron Oslo"],
    ),
    way(
        "asynchronous commit",
        &[Run("begin; set local synchronous_commit = off; update customer set tier = 'iron' where id = 'a'; commit")],
        &["a iron Oslo"],
    ),
    // ---- what sends nothing: Target has no deletion, and no row has changed
    way(
        "delete and truncate",
        &[Run("delete from customer where id = 'a'"),
          Run("delete from customer using (values ('b')) v (id) where v.id = customer.id returning *"), Run("truncate customer")],
        &[],
    ),
    way(
        "table that is rewritten",
        &[Run("alter table customer add score int default 1, alter note type varchar(9)"), Run("vacuum full customer"),
          Run("reindex table customer")],
        &[],
    ),
    way(
        "reading",
        &[Run("select * from customer for update; copy customer (id) to '/dev/null'; analyze customer;
               create table archive as select * from customer; lock table customer")],
        &[],
    )
    .only(Table::Plain),
];
