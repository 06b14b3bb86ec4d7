-- ArchiveWatermark for SQLite: the interval each incremental extract covers, one row an interval.
-- SQLite has no stored procedures, so usp_UpdateWatermark exists for SQL Server and PostgreSQL only.
-- Statements are separated by lines of "-- GO". Running the file again changes nothing.

CREATE TABLE IF NOT EXISTS "ArchiveWatermark" (
    -- As 'database.schema.table'.
    "TableName" VARCHAR(300) NOT NULL,
    -- The partition that holds the rows, 'yyyy-MM-dd'.
    "PartitionKey" VARCHAR(20) NOT NULL,
    -- 0 for a table's first interval, then one more each.
    "SequenceNumber" INTEGER NOT NULL,
    -- Rows above it; NULL: from the beginning.
    "LowerWatermark" VARCHAR(64) NULL,
    -- Rows up to and with it; NULL: the table had no watermark yet.
    "UpperWatermark" VARCHAR(64) NULL,
    -- 'datetime', 'integer' or 'rowversion'.
    "WatermarkKind" VARCHAR(20) NOT NULL DEFAULT 'datetime',
    -- UpperWatermark as a timestamp where it is one: for queries of MAX(ArchiveTimestamp).
    "ArchiveTimestamp" DATETIME NULL,
    -- UTC.
    "RecordedAt" DATETIME NOT NULL,
    "RunId" VARCHAR(64) NOT NULL,
    CONSTRAINT "PK_ArchiveWatermark" PRIMARY KEY ("TableName", "PartitionKey"),
    CONSTRAINT "UQ_ArchiveWatermark_Sequence" UNIQUE ("TableName", "SequenceNumber")
);
