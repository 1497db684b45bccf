;;; fgc-mode.el --- Specs of methods that distil diffusion models -*- lexical-binding: t -*-

;; Package-Requires: ((emacs "28.1") (eglot "1.9"))

;;; Commentary:

;; A major mode for .fg files with `fgc lsp' through Eglot, which is part of Emacs 29 and newer (on Debian 12:
;; the package elpa-eglot).  `fgc-path' names the program if it is not in PATH.

;;; Code:

(require 'eglot)

(defgroup fgc nil "Specs of methods that distil diffusion models." :group 'languages)

(defcustom fgc-path "fgc" "The fgc program." :type 'string :group 'fgc)

(defvar fgc-mode-syntax-table
  (let ((table (make-syntax-table)))
    (modify-syntax-entry ?/ ". 12b" table)
    (modify-syntax-entry ?\n "> b" table)
    (modify-syntax-entry ?_ "w" table)
    table))

(defvar fgc-font-lock-keywords
  `((,(regexp-opt '("use" "let" "var" "fn" "layer" "schedule" "method" "extern" "kernel" "data" "draw" "net" "state" "param" "loss"
                    "metric" "step" "sample" "from" "frozen" "weight" "every" "otherwise" "over" "in" "carry" "scan"
                    "for" "if" "then" "else" "return" "and" "or" "not")
                  'words)
     . font-lock-keyword-face)
    (,(regexp-opt '("true" "false" "none") 'words) . font-lock-constant-face)
    (,(regexp-opt '("f32" "f64" "i64" "bool" "int" "str" "list" "record" "time" "times" "network" "law") 'words)
     . font-lock-type-face)
    ("\\<\\(?:fn\\|layer\\|schedule\\|method\\|kernel\\)\\s-+\\(\\w+\\)" 1 font-lock-function-name-face)
    ("\\<\\(?:let\\|var\\|draw\\|net\\|state\\|loss\\|metric\\|param\\)\\s-+\\(\\w+\\)" 1 font-lock-variable-name-face)
    ("\\<stop\\>" . font-lock-builtin-face)))

(defun fgc-indent-line ()
  "Indent by two for every bracket that is open, as `fgc fmt' does."
  (interactive)
  (let* ((depth (save-excursion
                  (back-to-indentation)
                  (let ((open (car (syntax-ppss))))
                    (if (looking-at "[])}]") (1- open) open))))
         (wanted (* 2 (max 0 depth))))
    (if (<= (current-column) (current-indentation))
        (indent-line-to wanted)
      (save-excursion (indent-line-to wanted)))))

;;;###autoload
(define-derived-mode fgc-mode prog-mode "fgc"
  "Major mode for .fg files."
  (setq-local comment-start "// ")
  (setq-local comment-end "")
  (setq-local font-lock-defaults '(fgc-font-lock-keywords))
  (setq-local indent-line-function #'fgc-indent-line)
  (setq-local indent-tabs-mode nil))

;;;###autoload
(add-to-list 'auto-mode-alist '("\\.fg\\'" . fgc-mode))
(add-to-list 'eglot-server-programs `(fgc-mode . ,(lambda (&rest _) (list fgc-path "lsp"))))
(add-hook 'fgc-mode-hook #'eglot-ensure)

(provide 'fgc-mode)
;;; fgc-mode.el ends here
