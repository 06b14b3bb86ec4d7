-- ArchiveWatermark for DuckDB: the interval each incremental extract covers, one row an interval. It goes into the
-- connection's schema.
-- DuckDB has no stored procedures, so usp_UpdateWatermark exists for SQL Server and PostgreSQL only; and it keeps no
-- lengths of texts, so none are declared.
-- Statements are separated by lines of "-- GO". Running the file again changes nothing.

CREATE TABLE IF NOT EXISTS "ArchiveWatermark" (
    -- As 'database.schema.table'.
    "TableName" VARCHAR NOT NULL,
    -- The partition that holds the rows, 'yyyy-MM-dd'.
    "PartitionKey" VARCHAR NOT NULL,
    -- 0 for a table's first interval, then one more each.
    "SequenceNumber" INTEGER NOT NULL,
    -- Rows above it; NULL: from the beginning.
    "LowerWatermark" VARCHAR NULL,
    -- Rows up to and with it; NULL: the table had no watermark yet.
    "UpperWatermark" VARCHAR NULL,
    -- 'datetime', 'integer' or 'rowversion'.
    "WatermarkKind" VARCHAR NOT NULL DEFAULT 'datetime',
    -- UpperWatermark as a timestamp where it is one: for queries of MAX("ArchiveTimestamp").
    "ArchiveTimestamp" TIMESTAMP NULL,
    -- UTC.
    "RecordedAt" TIMESTAMP NOT NULL,
    "RunId" VARCHAR NOT NULL,
    CONSTRAINT "PK_ArchiveWatermark" PRIMARY KEY ("TableName", "PartitionKey"),
    CONSTRAINT "UQ_ArchiveWatermark_Sequence" UNIQUE ("TableName", "SequenceNumber")
);
