;;; emacs.el --- Emacs with fgc-mode as an editor of dmd2.fg -*- lexical-binding: t -*-

;; The environment says which server (FGC) and which file (SPEC).  An error ends Emacs with a status that is not 0.

(require 'fgc-mode)
(setq fgc-path (getenv "FGC")
      eglot-sync-connect 30)

(defun check (fine what &rest found)
  (unless fine (error "%s: %S" what found)))

(defun wait-for (what condition)
  (let ((left 600))
    (while (not (or (funcall condition) (zerop left)))
      (accept-process-output nil 0.05)
      (setq left (1- left)))
    (check (funcall condition) what)))

(defun go-to (text)
  (goto-char (point-min))
  (search-forward text)
  (goto-char (match-beginning 0)))

(defun tell () (eglot--signal-textDocument/didChange))

(find-file (getenv "SPEC"))
(check (eq major-mode 'fgc-mode) "another mode" major-mode)
(unless (eglot-current-server) (apply #'eglot (eglot--guess-contact)))
(let ((whole (buffer-string)))
  ;; A mistake gets its code at its range.
  (go-to "stop(real)")
  (let ((at (point)))
    (delete-char 4)
    (insert "stpo")
    (tell)
    (wait-for "the mistake is not shown" #'flymake-diagnostics)
    (let ((found (car (flymake-diagnostics))))
      (check (string-match-p "FG0104" (flymake-diagnostic-text found)) "wrong code" (flymake-diagnostic-text found))
      (check (and (= (flymake-diagnostic-beg found) at) (= (flymake-diagnostic-end found) (+ at 4))) "wrong range")))
  (delete-char -4)
  (insert "stop")
  (tell)
  (wait-for "the mistake does not go" (lambda () (null (flymake-diagnostics))))
  (check (string= whole (buffer-string)) "the text differs")

  (go-to "x_g = ")
  (let ((hover (jsonrpc-request (eglot--current-server-or-lose) :textDocument/hover
                                (eglot--TextDocumentPositionParams))))
    (check (string-match-p "f32\\[B=256, C=2\\]" (plist-get (plist-get hover :contents) :value)) "hover" hover))

  (eglot-rename "generated")
  (goto-char (point-min))
  (check (= (how-many "generated") 4) "rename" (how-many "generated"))
  (tell)
  (go-to "generated = ")
  (eglot-rename "x_g")
  (check (string= whole (buffer-string)) "renaming back differs")
  (tell)

  (go-to "vsd(")
  (let ((found (mapcar #'xref-item-summary (xref-backend-definitions 'eglot "LSP identifier at point."))))
    (check (string-match-p "^fn vsd(" (car found)) "definition" found))

  (go-to "let y = ")
  (beginning-of-line)
  (insert "  let more = student.\n")
  (backward-char)
  (tell)
  (let ((found (all-completions "" (nth 2 (eglot-completion-at-point)))))
    (check (and (member "x0" found) (member "schedule" found)) "completion" found))
  (delete-region (line-beginning-position) (1+ (line-end-position)))
  (tell)

  ;; A mess is put in order, by the server and by Emacs's own indentation.
  (go-to "let y = ")
  (replace-match "let    y=  ")
  (eglot-format-buffer)
  (check (string= whole (buffer-string)) "formatted" (buffer-string))
  (indent-region (point-min) (point-max))
  (check (string= whole (buffer-string)) "indented" (buffer-string)))
(set-buffer-modified-p nil)
;;; emacs.el ends here
