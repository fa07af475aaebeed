BEGIN TRANSACTION;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE events (
	position INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	job_id VARCHAR(36) NOT NULL, 
	sequence INTEGER NOT NULL, 
	type VARCHAR(40) NOT NULL, 
	version INTEGER NOT NULL, 
	at_ms INTEGER NOT NULL, 
	resource TEXT, 
	attempt INTEGER, 
	source_offset INTEGER, 
	data_json TEXT NOT NULL, 
	CONSTRAINT uq_events_job_id_sequence UNIQUE (job_id, sequence)
);
INSERT INTO "events" VALUES(1,'@JOB@',1,'job_queued',1,1795623507530,NULL,NULL,NULL,'{"ssh_host":"127.0.0.1","ssh_port":@PORT@,"ssh_user":"@USER@","ui_home":"@UI_HOME@","resources":[{"resource":"loras/model_1001.md","title":"Card loras/model_1001.md","dependencies":[],"size":null}],"host_key_sha256":null,"parallel":1,"bandwidth_limit":null,"max_attempts":1,"verify":true,"place":"000000000001","retry_of":null,"idempotency_key":null,"body_sha256":null}');
INSERT INTO "events" VALUES(2,'@JOB@',2,'job_started',1,1795623507539,NULL,NULL,NULL,'{}');
INSERT INTO "events" VALUES(3,'@JOB@',3,'host_key_accepted',1,1795623507576,NULL,NULL,NULL,'{"host_key_sha256":"SHA256:K+POgTJ/MveChJAbdWdu8ifVb2f1zY2IQe8N8QPRCUg","algorithm":"ssh-ed25519"}');
INSERT INTO "events" VALUES(4,'@JOB@',4,'resource_started',1,1795623507591,'loras/model_1001.md',1,NULL,'{"title":"Card loras/model_1001.md","card_sha256":"@CARD_SHA256@","bandwidth":null}');
CREATE TABLE job_resources (
	job_id VARCHAR(36) NOT NULL, 
	number INTEGER NOT NULL, 
	resource TEXT NOT NULL, 
	title TEXT NOT NULL, 
	dependencies TEXT NOT NULL, 
	size_bytes INTEGER, 
	state VARCHAR(20) NOT NULL, 
	attempt INTEGER NOT NULL, 
	phase VARCHAR(20) DEFAULT 'download' NOT NULL, 
	bandwidth INTEGER, 
	retry_at_ms INTEGER, 
	verified VARCHAR(20), 
	card_sha256 VARCHAR(64), 
	started_at_ms INTEGER, 
	ended_at_ms INTEGER, 
	name TEXT, 
	stage VARCHAR(40), 
	percent INTEGER, 
	downloaded_bytes INTEGER, 
	total_bytes INTEGER, 
	bytes_per_second FLOAT, 
	eta_seconds FLOAT, 
	resource_eta_seconds FLOAT, 
	job_eta_seconds FLOAT, 
	progress_at_ms INTEGER, 
	source_offset INTEGER NOT NULL, 
	cause VARCHAR(40), 
	error TEXT, 
	hint TEXT, 
	exit_code INTEGER, 
	seconds FLOAT, 
	CONSTRAINT pk_job_resources PRIMARY KEY (job_id, number), 
	CONSTRAINT fk_job_resources_job_id FOREIGN KEY(job_id) REFERENCES jobs (job_id) ON DELETE CASCADE
);
INSERT INTO "job_resources" VALUES('@JOB@',1,'loras/model_1001.md','Card loras/model_1001.md','[]',NULL,'running',1,'download',NULL,NULL,NULL,'@CARD_SHA256@',1795623507591,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE jobs (
	number INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	job_id VARCHAR(36) NOT NULL, 
	state VARCHAR(20) NOT NULL, 
	link VARCHAR(20), 
	ssh_host TEXT NOT NULL, 
	ssh_port INTEGER NOT NULL, 
	ssh_user TEXT NOT NULL, 
	host_key_sha256 TEXT, 
	ui_home TEXT NOT NULL, 
	created_at_ms INTEGER NOT NULL, 
	started_at_ms INTEGER, 
	ended_at_ms INTEGER, 
	error TEXT, 
	cause VARCHAR(40), 
	parallel INTEGER DEFAULT '1' NOT NULL, 
	bandwidth_limit INTEGER, 
	max_attempts INTEGER DEFAULT '3' NOT NULL, 
	verify BOOLEAN DEFAULT '1' NOT NULL, 
	instance_key TEXT DEFAULT '' NOT NULL, 
	place TEXT DEFAULT '' NOT NULL, 
	queue_position INTEGER, 
	cancel_requested_at_ms INTEGER, 
	retry_of VARCHAR(36), 
	idempotency_key TEXT, 
	body_sha256 VARCHAR(64), 
	thinned_at_ms INTEGER, 
	CONSTRAINT uq_jobs_job_id UNIQUE (job_id)
);
INSERT INTO "jobs" VALUES(1,'@JOB@','running','connected','127.0.0.1',@PORT@,'@USER@',NULL,'@UI_HOME@',1795623507530,1795623507539,NULL,NULL,NULL,1,NULL,1,1,'127.0.0.1:@PORT@','000000000001',NULL,NULL,NULL,NULL,NULL,NULL);
CREATE INDEX ix_jobs_state_instance_key_place ON jobs (state, instance_key, place);
CREATE INDEX ix_jobs_ended_at_ms ON jobs (ended_at_ms);
CREATE UNIQUE INDEX ix_jobs_idempotency_key ON jobs (idempotency_key);
CREATE INDEX ix_jobs_retry_of ON jobs (retry_of);
CREATE INDEX ix_jobs_state_number ON jobs (state, number);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',1);
INSERT INTO "sqlite_sequence" VALUES('events',4);
COMMIT;
