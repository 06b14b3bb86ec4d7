-- ArchiveWatermark for PostgreSQL: the interval each incremental extract covers, one row an interval, and the
-- procedure that appends the next one. Both go into the first schema of the search path.
-- Statements are separated by lines of "-- GO". Running the file again changes nothing.

CREATE TABLE IF NOT EXISTS "ArchiveWatermark" (
    -- As 'database.schema.table'.
    "TableName" varchar(300) NOT NULL,
    -- The partition that holds the rows, 'yyyy-MM-dd'; 'adf-<SequenceNumber>' where a day has more than one interval.
    "PartitionKey" varchar(20) NOT NULL,
    -- 0 for a table's first interval, then one more each.
    "SequenceNumber" integer NOT NULL,
    -- Rows above it; NULL: from the beginning.
    "LowerWatermark" varchar(64) NULL,
    -- Rows up to and with it; NULL: the table had no watermark yet.
    "UpperWatermark" varchar(64) NULL,
    -- 'datetime', 'integer' or 'rowversion'.
    "WatermarkKind" varchar(20) NOT NULL DEFAULT 'datetime',
    -- UpperWatermark as a timestamp where it is one: for queries of MAX("ArchiveTimestamp").
    "ArchiveTimestamp" timestamp NULL,
    -- UTC.
    "RecordedAt" timestamp NOT NULL,
    "RunId" varchar(64) NOT NULL,
    CONSTRAINT "PK_ArchiveWatermark" PRIMARY KEY ("TableName", "PartitionKey"),
    CONSTRAINT "UQ_ArchiveWatermark_Sequence" UNIQUE ("TableName", "SequenceNumber")
);
-- GO
-- Appends the interval from the table's last upper watermark to new_watermark.
-- * A watermark equal to the last one appends nothing, so that a repeated call is harmless; NULL (the source is empty)
--   appends nothing either.
-- * A smaller one is refused, and so is a table that is not followed by a timestamp.
-- * The row gets today's (UTC) partition key; where today has its row already, 'adf-<SequenceNumber>'. Rows of the
--   latter kind are in the caller's files only: the project has no partition of that name, and goes on after them.
-- Two calls for one table wait for each other; the unique SequenceNumber decides against every other writer.
CREATE OR REPLACE PROCEDURE "usp_UpdateWatermark"(
    table_name varchar,
    new_watermark timestamp,
    run_id varchar DEFAULT 'azure-data-factory'
)
LANGUAGE plpgsql
AS $procedure$
DECLARE
    last_row "ArchiveWatermark"%ROWTYPE;
    last_end timestamp;
    next_sequence integer := 0;
    new_key varchar(20) := to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD');
BEGIN
    IF table_name IS NULL OR table_name = '' THEN
        RAISE EXCEPTION 'usp_UpdateWatermark: table_name is empty; expected database.schema.table.'
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
    IF new_watermark IS NULL THEN
        RETURN;
    END IF;
    IF NOT isfinite(new_watermark) THEN
        RAISE EXCEPTION 'usp_UpdateWatermark: % is no watermark of %; expected a finite timestamp.',
            new_watermark, table_name USING ERRCODE = 'datetime_field_overflow';
    END IF;

    PERFORM pg_advisory_xact_lock(hashtextextended('ArchiveWatermark:' || table_name, 0));

    SELECT * INTO last_row FROM "ArchiveWatermark"
    WHERE "TableName" = table_name ORDER BY "SequenceNumber" DESC LIMIT 1;

    IF FOUND THEN
        next_sequence := last_row."SequenceNumber" + 1;
        IF last_row."WatermarkKind" <> 'datetime' THEN
            RAISE EXCEPTION 'usp_UpdateWatermark: % is followed by a watermark of kind %; expected datetime.',
                table_name, last_row."WatermarkKind" USING ERRCODE = 'datatype_mismatch';
        END IF;
        -- The text is exact; a zone in it is UTC's.
        last_end := CASE
            WHEN last_row."UpperWatermark" IS NULL THEN NULL
            ELSE CAST(last_row."UpperWatermark" AS timestamp)
        END;
        IF new_watermark < last_end THEN
            RAISE EXCEPTION 'usp_UpdateWatermark: the watermark of % would go back from % to %. Nothing was recorded.',
                table_name, last_end, new_watermark USING ERRCODE = 'check_violation';
        END IF;
        IF new_watermark = last_end THEN
            RETURN;
        END IF;
    END IF;

    IF EXISTS (
        SELECT 1 FROM "ArchiveWatermark" WHERE "TableName" = table_name AND "PartitionKey" = new_key
    ) THEN
        new_key := 'adf-' || next_sequence;
    END IF;

    INSERT INTO "ArchiveWatermark" (
        "TableName", "PartitionKey", "SequenceNumber", "LowerWatermark", "UpperWatermark", "WatermarkKind",
        "ArchiveTimestamp", "RecordedAt", "RunId"
    ) VALUES (
        table_name, new_key, next_sequence, last_row."UpperWatermark",
        to_char(new_watermark, 'YYYY-MM-DD HH24:MI:SS.US'), 'datetime',
        new_watermark, clock_timestamp() AT TIME ZONE 'UTC', run_id
    );
END;
$procedure$;
