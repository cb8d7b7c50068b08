-- The catalogue. Every row carries the position of the line that wrote it, (job, line): of several lines
-- for one key the later position wins, in whatever order chunks are applied or delivered again.
CREATE SEQUENCE catalogue_positions;

CREATE TABLE products (
    sku text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    category text COLLATE "C" NOT NULL,
    supplier text COLLATE "C" NOT NULL,
    price numeric NOT NULL,  -- without a scale: 1.50 stays 1.50
    currency text COLLATE "C" NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    source_job bigint NOT NULL,
    source_line bigint NOT NULL
) WITH (fillfactor = 85);  -- room for updates in place: a feed mostly changes prices

CREATE INDEX products_by_category ON products (category, sku);
CREATE INDEX products_by_supplier ON products (supplier, sku);
CREATE INDEX products_by_words ON products USING gin (to_tsvector('simple', name));

CREATE TABLE stock (
    sku text COLLATE "C" NOT NULL,
    warehouse text COLLATE "C" NOT NULL,
    quantity bigint NOT NULL,
    source_job bigint NOT NULL,
    source_line bigint NOT NULL,
    PRIMARY KEY (sku, warehouse)
) WITH (fillfactor = 85);
