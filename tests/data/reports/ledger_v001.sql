PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE "deliveries" (
   "id" INTEGER PRIMARY KEY,
   "shot_id" INTEGER NOT NULL REFERENCES "shots"("id"),
   "take" INTEGER NOT NULL REFERENCES "takes"("id"),
   "version" INTEGER NOT NULL,
   "path" TEXT NOT NULL,
   "sha256" TEXT NOT NULL,
   "sidecar" TEXT NOT NULL,
   "json" TEXT NOT NULL,
   "night" TEXT NOT NULL REFERENCES "nights"("id"),
   "at" TEXT NOT NULL
) STRICT;
INSERT INTO "deliveries" VALUES(1,1,2,1,'/studio/night/delivered/shot1_v001.mp4','0909090909090909090909090909090909090909090909090909090909090909','/studio/night/delivered/shot1_v001.json','{"checks":["17 frames of 17","legal range"],"fps":8.0,"frames":17,"grade":"none","height":256,"path":"/studio/night/delivered/shot1_v001.mp4","seconds":1.3,"sha256":"0909090909090909090909090909090909090909090909090909090909090909","strip":null,"upscaler":"lanczos 2x","width":256}','2026-11-20','2026-11-20T22:01:10.000000+00:00');
CREATE TABLE "events" (
   "id" INTEGER PRIMARY KEY,
   "at" TEXT NOT NULL,
   "night" TEXT NOT NULL REFERENCES "nights"("id"),
   "shot_id" INTEGER REFERENCES "shots"("id"),
   "take" INTEGER REFERENCES "takes"("id"),
   "kind" TEXT NOT NULL,
   "words" TEXT NOT NULL,
   "data" TEXT NOT NULL
) STRICT;
CREATE TABLE "night_shots" (
   "night" TEXT REFERENCES "nights"("id"),
   "shot_id" INTEGER REFERENCES "shots"("id"),
   "position" INTEGER NOT NULL,
   PRIMARY KEY ("night", "shot_id")
) STRICT;
INSERT INTO "night_shots" VALUES('2026-11-20',1,0);
CREATE TABLE "nights" (
   "id" TEXT PRIMARY KEY,
   "started" TEXT NOT NULL,
   "arguments_key" TEXT NOT NULL,
   "arguments" TEXT NOT NULL,
   "flow_run_id" TEXT
) STRICT;
INSERT INTO "nights" VALUES('2026-11-20','2026-11-20T22:00:07.000000+00:00','key of 2026-11-20','{"manifests":["shots.csv"]}',NULL);
CREATE TABLE "receipts" (
   "take" INTEGER PRIMARY KEY REFERENCES "takes"("id"),
   "json" TEXT NOT NULL
) STRICT;
INSERT INTO "receipts" VALUES(1,'{"clip":"/studio/night/takes/shots/1/t1/take.mkv","clip_sha256":"efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef","decode_seconds":1.1,"device":"cpu (2 threads)","encode_seconds":0.4,"fps":8.0,"frames":17,"height":128,"load_seconds":2.1,"notes":[],"peak_memory":900000000,"recipe_fingerprint":"65951e9f5f050143e01ee4d3e5b933e538b46083c9f2b25386cf6d65fcd22c2d","seconds":10.1,"stages":[{"index":0,"latents":"/studio/night/takes/shots/1/t1/stage1.safetensors","latents_sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","latents_std":0.98,"resumed":false,"seconds":3.6,"seed":41,"start_sigma":1.0,"steps":18},{"index":1,"latents":"/studio/night/takes/shots/1/t1/stage2.safetensors","latents_sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","latents_std":0.98,"resumed":false,"seconds":5.0,"seed":42,"start_sigma":0.87,"steps":25}],"take_id":"shots/1/t1","versions":{"torch":"2.15.0"},"width":128}');
INSERT INTO "receipts" VALUES(2,'{"clip":"/studio/night/takes/shots/1/t2/take.mkv","clip_sha256":"efefefefefefefefefefefefefefefefefefefefefefefefefefefefefefefef","decode_seconds":1.1,"device":"cpu (2 threads)","encode_seconds":0.4,"fps":8.0,"frames":17,"height":128,"load_seconds":2.1,"notes":[],"peak_memory":900000000,"recipe_fingerprint":"38bc3e2eef96e6b071856aa6c0e6575beded30c99e7d2e583f4988e56e24fae8","seconds":10.1,"stages":[{"index":0,"latents":"/studio/night/takes/shots/1/t2/stage1.safetensors","latents_sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","latents_std":0.98,"resumed":false,"seconds":3.6,"seed":42,"start_sigma":1.0,"steps":18},{"index":1,"latents":"/studio/night/takes/shots/1/t2/stage2.safetensors","latents_sha256":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","latents_std":0.98,"resumed":false,"seconds":5.0,"seed":43,"start_sigma":0.87,"steps":25}],"take_id":"shots/1/t2","versions":{"torch":"2.15.0"},"width":128}');
CREATE TABLE "scorecards" (
   "take" INTEGER PRIMARY KEY REFERENCES "takes"("id"),
   "json" TEXT NOT NULL
) STRICT;
INSERT INTO "scorecards" VALUES(1,'{"frames": 17, "width": 128, "height": 128, "fps": 8.0, "metrics": {"ssim_source": 0.91, "flicker_global": 0.011, "boiling": 0.17}, "versions": {"ssim_source": "1", "flicker_global": "1", "boiling": "1"}, "backbone": "alex, random, seed 0 (uncalibrated)", "problems": [], "curves": {"ssim": [0.9, 0.91, 0.92, 0.93, 0.9, 0.91, 0.92, 0.93, 0.9, 0.91, 0.92, 0.93, 0.9, 0.91, 0.92, 0.93], "motion": [2.7, 2.73, 2.7600000000000002, 2.79, 2.7, 2.73, 2.7600000000000002, 2.79, 2.7, 2.73, 2.7600000000000002, 2.79, 2.7, 2.73, 2.7600000000000002, 2.79]}}');
INSERT INTO "scorecards" VALUES(2,'{"frames": 17, "width": 128, "height": 128, "fps": 8.0, "metrics": {"ssim_source": 0.91, "flicker_global": 0.0021, "boiling": 0.17}, "versions": {"ssim_source": "1", "flicker_global": "1", "boiling": "1"}, "backbone": "alex, random, seed 0 (uncalibrated)", "problems": [], "curves": {"ssim": [0.9, 0.91, 0.92, 0.93, 0.9, 0.91, 0.92, 0.93, 0.9, 0.91, 0.92, 0.93, 0.9, 0.91, 0.92, 0.93], "motion": [2.7, 2.73, 2.7600000000000002, 2.79, 2.7, 2.73, 2.7600000000000002, 2.79, 2.7, 2.73, 2.7600000000000002, 2.79, 2.7, 2.73, 2.7600000000000002, 2.79]}}');
CREATE TABLE "shots" (
   "id" INTEGER PRIMARY KEY,
   "manifest" TEXT NOT NULL,
   "shot" TEXT NOT NULL,
   "fingerprint" TEXT NOT NULL,
   "row" INTEGER NOT NULL,
   "priority" INTEGER NOT NULL,
   "recipe" TEXT NOT NULL,
   "finish" TEXT NOT NULL,
   "source" TEXT,
   "title" TEXT,
   "style" TEXT,
   "notes" TEXT,
   "snaps" TEXT,
   "warnings" TEXT
) STRICT;
INSERT INTO "shots" VALUES(1,'shots','001','c7a63e0d5e2c1b34ffc347d229169330f259c532afeb0fd23d70cb6b8cc02b44',2,3,'{"boundary":0.9,"family":"pocket","fps":8.0,"frames":17,"height":128,"model":"pocket-wan","model_id":"pocket-wan@1f0c","negative":"","precision":"float32","preset":"pocket/two-stage","prompt":"slow push in, cinematic realism","seed":41,"source_sha256":"abababababababababababababababababababababababababababababababab","stages":[{"add_noise":true,"cfg":3.5,"denoise":1.0,"end_step":10,"expert":"auto","kind":"split","leftover_noise":false,"loras":[{"path":"/studio/night/grain.safetensors","sha256":"1212121212121212121212121212121212121212121212121212121212121212","strength":0.8}],"sampler":"euler","schedule":"simple","seed_offset":0,"shift":5.0,"start_step":0,"steps":20}],"vae_precision":"float32","width":128}','{"crf":16,"grade":{"lut":"/studio/night/warm.cube","lut_sha256":"3434343434343434343434343434343434343434343434343434343434343434","offset":[0.0,0.0,0.0],"power":[1.0,1.0,1.0],"saturation":1.0,"slope":[1.1,1.0,0.9]},"upscale":{"factor":2.0,"model":"/studio/night/up.safetensors","model_sha256":"5656565656565656565656565656565656565656565656565656565656565656"}}','{"path": "/studio/night/stills/001.png", "sha256": "abababababababababababababababababababababababababababababababab", "width": 640, "height": 480, "notes": []}','slow push in','cinematic realism','client likes the slow ones','["frames 16 -> 17 (Wan renders 4n+1)"]','["stage 2 restarts at sigma 0.10: it refines nothing"]');
CREATE TABLE "takes" (
   "id" INTEGER PRIMARY KEY,
   "shot_id" INTEGER NOT NULL REFERENCES "shots"("id"),
   "number" INTEGER NOT NULL,
   "take_id" TEXT NOT NULL,
   "recipe" TEXT NOT NULL,
   "recipe_fingerprint" TEXT NOT NULL,
   "remedy_words" TEXT NOT NULL,
   "remedy" TEXT
) STRICT;
INSERT INTO "takes" VALUES(1,1,1,'shots/1/t1','{"boundary":null,"family":"pocket","fps":8.0,"frames":17,"height":128,"model":"pocket-wan","model_id":"pocket-wan@1f0c","negative":"","precision":"float32","preset":"pocket/two-stage","prompt":"slow push in, cinematic realism","seed":41,"source_sha256":null,"stages":[{"add_noise":true,"cfg":8.5,"denoise":1.0,"end_step":null,"expert":"auto","kind":"renoise","leftover_noise":false,"loras":[],"sampler":"dpmpp_2m","schedule":"simple","seed_offset":0,"shift":8.0,"start_step":0,"steps":18},{"add_noise":true,"cfg":7.5,"denoise":0.45,"end_step":null,"expert":"auto","kind":"renoise","leftover_noise":false,"loras":[],"sampler":"euler","schedule":"karras","seed_offset":1,"shift":8.0,"start_step":0,"steps":25}],"vae_precision":"float32","width":128}','65951e9f5f050143e01ee4d3e5b933e538b46083c9f2b25386cf6d65fcd22c2d','',NULL);
INSERT INTO "takes" VALUES(2,1,2,'shots/1/t2','{"boundary":null,"family":"pocket","fps":8.0,"frames":17,"height":128,"model":"pocket-wan","model_id":"pocket-wan@1f0c","negative":"","precision":"float32","preset":"pocket/two-stage","prompt":"slow push in, cinematic realism","seed":42,"source_sha256":null,"stages":[{"add_noise":true,"cfg":8.5,"denoise":1.0,"end_step":null,"expert":"auto","kind":"renoise","leftover_noise":false,"loras":[],"sampler":"dpmpp_2m","schedule":"simple","seed_offset":0,"shift":8.0,"start_step":0,"steps":18},{"add_noise":true,"cfg":7.5,"denoise":0.45,"end_step":null,"expert":"auto","kind":"renoise","leftover_noise":false,"loras":[],"sampler":"euler","schedule":"karras","seed_offset":1,"shift":8.0,"start_step":0,"steps":25}],"vae_precision":"float32","width":128}','38bc3e2eef96e6b071856aa6c0e6575beded30c99e7d2e583f4988e56e24fae8','new seed','{"seed":2}');
CREATE TABLE "transitions" (
   "id" INTEGER PRIMARY KEY,
   "take" INTEGER NOT NULL REFERENCES "takes"("id"),
   "at" TEXT NOT NULL,
   "before" TEXT,
   "after" TEXT NOT NULL,
   "night" TEXT NOT NULL REFERENCES "nights"("id"),
   "words" TEXT NOT NULL
) STRICT;
INSERT INTO "transitions" VALUES(1,1,'2026-11-20T22:00:14.000000+00:00',NULL,'queued','2026-11-20','asked for by the sheet');
INSERT INTO "transitions" VALUES(2,1,'2026-11-20T22:00:21.000000+00:00','queued','rendering','2026-11-20','started');
INSERT INTO "transitions" VALUES(3,1,'2026-11-20T22:00:28.000000+00:00','rendering','rendered','2026-11-20','rendered in 10.1 s on cpu (2 threads)');
INSERT INTO "transitions" VALUES(4,1,'2026-11-20T22:00:35.000000+00:00','rendered','rejected','2026-11-20','flickers: 0.011, at most 0.0065; texture boils a little: 0.31, best below 0.3');
INSERT INTO "transitions" VALUES(5,2,'2026-11-20T22:00:42.000000+00:00',NULL,'queued','2026-11-20','asked for: new seed');
INSERT INTO "transitions" VALUES(6,2,'2026-11-20T22:00:49.000000+00:00','queued','rendering','2026-11-20','started');
INSERT INTO "transitions" VALUES(7,2,'2026-11-20T22:00:56.000000+00:00','rendering','rendered','2026-11-20','rendered in 10.1 s on cpu (2 threads)');
INSERT INTO "transitions" VALUES(8,2,'2026-11-20T22:01:03.000000+00:00','rendered','approved','2026-11-20','texture boils a little: 0.31, best below 0.3');
CREATE TABLE "verdicts" (
   "take" INTEGER PRIMARY KEY REFERENCES "takes"("id"),
   "json" TEXT NOT NULL
) STRICT;
INSERT INTO "verdicts" VALUES(1,'{"decision": "retake", "failure": "flicker", "findings": [{"metric": "flicker_global", "value": 0.011, "level": "fail", "limit": 0.0065, "failure": "flicker", "words": "flickers: 0.011, at most 0.0065", "severity": 1.6923076923076923}, {"metric": "boiling", "value": 0.31, "level": "warn", "limit": 0.3, "failure": null, "words": "texture boils a little: 0.31, best below 0.3", "severity": 1.03}, {"metric": "ssim_source", "value": 0.91, "level": "pass", "limit": 0.7, "failure": null, "words": "first frame matches the still: 0.91", "severity": 0.5}], "thresholds": "defaults 1"}');
INSERT INTO "verdicts" VALUES(2,'{"decision": "approve", "failure": null, "findings": [{"metric": "flicker_global", "value": 0.0021, "level": "pass", "limit": 0.0065, "failure": null, "words": "flicker 0.0021", "severity": 0.3230769230769231}, {"metric": "boiling", "value": 0.31, "level": "warn", "limit": 0.3, "failure": null, "words": "texture boils a little: 0.31, best below 0.3", "severity": 1.03}, {"metric": "ssim_source", "value": 0.91, "level": "pass", "limit": 0.7, "failure": null, "words": "first frame matches the still: 0.91", "severity": 0.5}], "thresholds": "defaults 1"}');
CREATE UNIQUE INDEX "idx_shots_manifest_shot_fingerprint"
    ON "shots" ("manifest", "shot", "fingerprint");
CREATE INDEX "idx_night_shots_shot_id"
    ON "night_shots" ("shot_id");
CREATE UNIQUE INDEX "idx_takes_take_id"
    ON "takes" ("take_id");
CREATE UNIQUE INDEX "idx_takes_shot_id_number"
    ON "takes" ("shot_id", "number");
CREATE INDEX "idx_transitions_take_id"
    ON "transitions" ("take", "id");
CREATE INDEX "idx_transitions_night"
    ON "transitions" ("night");
CREATE INDEX "idx_deliveries_shot_id"
    ON "deliveries" ("shot_id");
CREATE UNIQUE INDEX "idx_deliveries_path"
    ON "deliveries" ("path");
CREATE INDEX "idx_events_night_kind"
    ON "events" ("night", "kind");
CREATE INDEX "idx_events_shot_id"
    ON "events" ("shot_id");
CREATE TRIGGER transitions_no_update BEFORE UPDATE ON transitions BEGIN SELECT RAISE(ABORT, 'transitions is append-only'); END;
CREATE TRIGGER transitions_no_delete BEFORE DELETE ON transitions BEGIN SELECT RAISE(ABORT, 'transitions is append-only'); END;
CREATE TRIGGER receipts_no_update BEFORE UPDATE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END;
CREATE TRIGGER receipts_no_delete BEFORE DELETE ON receipts BEGIN SELECT RAISE(ABORT, 'receipts is append-only'); END;
CREATE TRIGGER scorecards_no_update BEFORE UPDATE ON scorecards BEGIN SELECT RAISE(ABORT, 'scorecards is append-only'); END;
CREATE TRIGGER scorecards_no_delete BEFORE DELETE ON scorecards BEGIN SELECT RAISE(ABORT, 'scorecards is append-only'); END;
CREATE TRIGGER verdicts_no_update BEFORE UPDATE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts is append-only'); END;
CREATE TRIGGER verdicts_no_delete BEFORE DELETE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts is append-only'); END;
CREATE TRIGGER deliveries_no_update BEFORE UPDATE ON deliveries BEGIN SELECT RAISE(ABORT, 'deliveries is append-only'); END;
CREATE TRIGGER deliveries_no_delete BEFORE DELETE ON deliveries BEGIN SELECT RAISE(ABORT, 'deliveries is append-only'); END;
CREATE TRIGGER events_no_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER events_no_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events is append-only'); END;
CREATE TRIGGER transitions_chained BEFORE INSERT ON transitions WHEN NEW.before IS NOT (SELECT after FROM transitions WHERE take = NEW.take ORDER BY id DESC LIMIT 1) BEGIN SELECT RAISE(ABORT, 'a transition starts where the one before it ended'); END;
COMMIT;
PRAGMA application_id=1381323592;
PRAGMA user_version=1;
