-- ArchiveWatermark for SQL Server and Azure SQL: the interval each incremental extract covers, one row an interval.
-- Batches are separated by lines of "GO". Running the file again changes nothing.
-- The procedure that appends to it is in usp_UpdateWatermark.sql.

IF OBJECT_ID(N'dbo.ArchiveWatermark', N'U') IS NULL
CREATE TABLE dbo.ArchiveWatermark (
    -- As 'database.schema.table'. Compared exactly: names that differ in case can be different tables at the source.
    TableName nvarchar(300) COLLATE Latin1_General_100_BIN2 NOT NULL,
    -- The partition that holds the rows, 'yyyy-MM-dd'; 'adf-<SequenceNumber>' where a day has more than one interval.
    PartitionKey varchar(20) NOT NULL,
    -- 0 for a table's first interval, then one more each.
    SequenceNumber int NOT NULL,
    -- Rows above it; NULL: from the beginning.
    LowerWatermark varchar(64) NULL,
    -- Rows up to and with it; NULL: the table had no watermark yet.
    UpperWatermark varchar(64) NULL,
    -- 'datetime', 'integer' or 'rowversion'.
    WatermarkKind varchar(20) NOT NULL CONSTRAINT DF_ArchiveWatermark_Kind DEFAULT 'datetime',
    -- UpperWatermark as a timestamp where it is one: for queries of MAX(ArchiveTimestamp).
    ArchiveTimestamp datetime2(7) NULL,
    -- UTC.
    RecordedAt datetime2(7) NOT NULL,
    RunId varchar(64) NOT NULL,
    CONSTRAINT PK_ArchiveWatermark PRIMARY KEY (TableName, PartitionKey),
    CONSTRAINT UQ_ArchiveWatermark_Sequence UNIQUE (TableName, SequenceNumber)
);
